import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Change, OptimisticStore, type RowChange } from "../src/client/index.ts";

interface Row {
  readonly id: string;
  readonly count: number;
  readonly notes: string;
}

/** The same three changes twice: of the row, and of the whole value. */
const byRow = {
  put: (row: Row): readonly Change[] => [{ key: ["row"], row: row.id, apply: (before) => before ?? row }],
  note: ({ id, text }: { id: string; text: string }): readonly Change[] => [
    {
      key: ["row"],
      row: id,
      apply: (before) => before && { ...(before as Row), notes: (before as Row).notes + text },
    },
  ],
  drop: (id: string): readonly Change[] => [{ key: ["row"], row: id, apply: () => undefined }],
};
const isList = (value: unknown): value is readonly Row[] => Array.isArray(value);
const byValue = {
  put: (row: Row): readonly Change[] => [
    {
      key: ["row"],
      apply: (value) => (isList(value) && !value.some(({ id }) => id === row.id) ? [...value, row] : value),
    },
  ],
  note: ({ id, text }: { id: string; text: string }): readonly Change[] => [
    {
      key: ["row"],
      apply: (value) =>
        isList(value)
          ? value.map((row) => (row.id === id ? { ...row, notes: row.notes + text } : row))
          : value,
    },
  ],
  drop: (id: string): readonly Change[] => [
    { key: ["row"], apply: (value) => (isList(value) ? value.filter((row) => row.id !== id) : value) },
  ],
};

const row = (id: string, count = 0): Row => ({ id, count, notes: "" });
const never = { send: () => new Promise<never>(() => undefined) };
const LIST = ["row", { filter: "all" }];

describe("changes of rows", () => {
  it("are drawn over every list that has the row, and over its detail", () => {
    const store = new OptimisticStore({ mutators: byRow });
    store.setBase(LIST, [row("a"), row("b")]);
    store.setBase(["row", "b"], row("b"));
    store.setBase(["row", "a"], row("a"));
    store.mutate("note", { id: "b", text: "!" }, never);
    expect(store.value(LIST)).toEqual([row("a"), { ...row("b"), notes: "!" }]);
    expect(store.value(["row", "b"])).toMatchObject({ notes: "!" });
    expect(store.value(["row", "a"])).toMatchObject({ notes: "" });
  });

  it("leave a list the same object when none of its rows is concerned", () => {
    const store = new OptimisticStore({ mutators: byRow });
    const rows = [row("a")];
    store.setBase(LIST, rows);
    store.mutate("note", { id: "z", text: "!" }, never);
    expect(store.value(LIST)).toBe(rows);
  });

  it("take rows out, put them at the end, and are taken back with their mutation alone", async () => {
    const store = new OptimisticStore({ mutators: byRow });
    store.setBase(LIST, [row("a"), row("b")]);
    const ids = (): readonly string[] => (store.value(LIST) as readonly Row[]).map(({ id }) => id);
    const failing = store.mutate("drop", "a", { send: () => Promise.reject(new Error("no")) });
    store.mutate("put", row("c"), never);
    expect(ids()).toEqual(["b", "c"]);
    await expect(failing.done).rejects.toThrow("no");
    expect(ids()).toEqual(["a", "b", "c"]);
  });

  it("show the same as changes of the whole value would, whatever is pending and whatever base comes", () => {
    const id = fc.constantFrom("a", "b", "c", "d");
    const step = fc.oneof(
      fc.record({ name: fc.constant("put" as const), args: id.map((each) => row(each)) }),
      fc.record({
        name: fc.constant("note" as const),
        args: fc.record({ id, text: fc.constantFrom("x", "y") }),
      }),
      fc.record({
        name: fc.constant("base" as const),
        args: fc.uniqueArray(id).map((ids) => ids.map((each) => row(each, 1))),
      }),
      fc.record({ name: fc.constant("drop" as const), args: id }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const [rows, values] = [byRow, byValue].map(
          (mutators) => new OptimisticStore<typeof byRow>({ mutators }),
        );
        for (const { name, args } of steps) {
          for (const store of [rows, values]) {
            if (name === "base") store?.setBase(LIST, args);
            else store?.mutate(name, args as never, never);
          }
          expect(sorted(rows?.value(LIST))).toEqual(sorted(values?.value(LIST)));
        }
      }),
    );
  });

  it("may find the id elsewhere than in `id`", () => {
    const change = (name: string): RowChange => ({
      key: ["row"],
      row: name,
      idOf,
      apply: (before) => before && { ...(before as object), seen: true },
    });
    const idOf = (value: unknown): unknown => (value as { name: string }).name;
    const store = new OptimisticStore({ mutators: { see: (name: string) => [change(name)] } });
    store.setBase(LIST, [{ name: "x" }, { name: "y" }]);
    store.mutate("see", "y", never);
    expect(store.value(LIST)).toEqual([{ name: "x" }, { name: "y", seen: true }]);
  });
});

/** A row that was dropped and put again may stand elsewhere. */
const sorted = (value: unknown): unknown =>
  isList(value) ? [...value].sort((a, b) => (a.id < b.id ? -1 : 1)) : value;
