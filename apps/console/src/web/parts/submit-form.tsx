import type { WorkflowCatalogEntry } from "@holdfast/protocol/contract";
import { type FormEvent, type ReactNode, useId, useState } from "react";
import { call } from "../rest.ts";
import { jobPath, navigate } from "../route.ts";

/** Starts a job: choose a workflow, give its input as JSON. What is wrong with the input is said where it is typed. */
export const SubmitForm = (props: {
  readonly workflows: readonly WorkflowCatalogEntry[];
  readonly datacenters: readonly string[];
}): ReactNode => {
  const id = useId();
  const [chosen, setChosen] = useState("");
  const [input, setInput] = useState("{}");
  const [places, setPlaces] = useState<readonly string[]>([]);
  const [problem, setProblem] = useState<string>();
  const [isBusy, setBusy] = useState(false);
  const workflow = props.workflows.find((entry) => entry.name === chosen) ?? props.workflows[0];
  if (workflow === undefined) {
    return (
      <p className="card muted">
        No worker offers a workflow. Start one with <code>holdfast worker --workflows FILE</code>.
      </p>
    );
  }
  const submit = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setProblem(undefined);
    let parsed: unknown;
    try {
      parsed = JSON.parse(input);
    } catch (error) {
      setProblem(`The input is not valid JSON: ${(error as Error).message}`);
      return;
    }
    setBusy(true);
    try {
      const { jobId } = await call<{ jobId: string }>("POST", "/api/jobs", {
        workflows: [{ workflow: workflow.name, input: parsed }],
        ...(places.length === 0 ? {} : { datacenters: places, datacenterCount: places.length }),
      });
      navigate(jobPath(jobId));
    } catch (error) {
      setProblem((error as Error).message);
      setBusy(false);
    }
  };
  return (
    <form className="card submit" onSubmit={(event) => void submit(event)}>
      <label htmlFor={`${id}-workflow`}>Workflow</label>
      <select id={`${id}-workflow`} value={workflow.name} onChange={(event) => setChosen(event.target.value)}>
        {props.workflows.map((entry) => (
          <option key={entry.name}>{entry.name}</option>
        ))}
      </select>
      <p className="muted">{workflow.description}</p>
      <label htmlFor={`${id}-input`}>Input (JSON)</label>
      <textarea
        id={`${id}-input`}
        rows={4}
        spellCheck={false}
        value={input}
        aria-invalid={problem !== undefined}
        aria-describedby={problem === undefined ? undefined : `${id}-problem`}
        onChange={(event) => setInput(event.target.value)}
      />
      {props.datacenters.length > 1 ? (
        <fieldset>
          <legend>Datacenters (none chosen: the healthiest)</legend>
          {props.datacenters.map((name) => (
            <label key={name} className="check">
              <input
                type="checkbox"
                checked={places.includes(name)}
                onChange={({ target }) =>
                  setPlaces(target.checked ? [...places, name] : places.filter((place) => place !== name))
                }
              />
              {name}
            </label>
          ))}
        </fieldset>
      ) : null}
      {problem === undefined ? null : (
        <p id={`${id}-problem`} className="problem" role="alert">
          {problem}
        </p>
      )}
      <button type="submit" className="primary" disabled={isBusy}>
        {isBusy ? "Submitting …" : `Run ${workflow.name}`}
      </button>
    </form>
  );
};
