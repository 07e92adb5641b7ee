import { systemClock, TimeoutError } from "@holdfast/kernel";
import type { JobSummary, Scope } from "@holdfast/protocol/contract";
import { chromiumPath, createFaultProxy, type FaultProxy } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { jobView, runOf, setUp } from "./fixture.ts";

/** How long anything may take on a busy machine. */
const LIMIT_MS = 60_000;
vi.setConfig({ testTimeout: 3 * LIMIT_MS, hookTimeout: LIMIT_MS });
/** What keeps a headless browser from calling home. */
const QUIET = [
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];

describeService("chromium", "the pages of the console in a real browser", () => {
  let browser: Browser;
  let console: Awaited<ReturnType<typeof setUp>>;
  let network: FaultProxy;
  const jobs: JobSummary[] = [];
  /** What the gate says instead of its jobs. */
  let refusal: TimeoutError | undefined;
  const tokens = new Map<string, readonly Scope[]>();
  const failures: string[] = [];
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: chromiumPath(), args: QUIET });
    console = await setUp(
      {
        list: async () => {
          if (refusal !== undefined) throw refusal;
          return { jobs: [...jobs] };
        },
        get: async (jobId) => ({ ...jobView, ...jobs.find((job) => job.jobId === jobId), datacenters: {} }),
        result: async (jobId) => runOf(jobId, jobId === "job-old" ? 5_000 : 10_000),
      },
      { clock: systemClock, authenticate: (credential) => tokens.get(credential?.token ?? "") },
    );
    network = await createFaultProxy({ target: { port: Number(new URL(console.console.url).port) } });
  });
  afterAll(async () => {
    await browser?.close();
    await network?.[Symbol.asyncDispose]();
    await console?.[Symbol.asyncDispose]();
  });
  beforeEach(() => {
    jobs.splice(0);
    refusal = undefined;
    failures.splice(0);
    tokens.clear();
    tokens.set("first-token", ["read"]);
  });
  afterEach(async () => {
    await network.heal();
    for (const context of browser.contexts()) await context.close();
    expect(failures).toEqual([]);
  });

  const summaryOf = (jobId: string): JobSummary => ({
    jobId,
    name: "import",
    status: "running",
    submittedAt: 1,
    elapsedMs: 1,
    datacenters: ["east"],
    progress: { done: 0, total: 0 },
    labels: {},
  });
  const addJob = (jobId: string): number => jobs.push(summaryOf(jobId));
  const isLive = (page: Page): Promise<void> =>
    page.getByText("live", { exact: true }).waitFor({ timeout: LIMIT_MS });
  const shows = (page: Page, jobId: string): Promise<void> =>
    page.getByRole("link", { name: jobId }).waitFor({ timeout: LIMIT_MS });
  const signIn = async (page: Page, token: string): Promise<void> => {
    await page.getByLabel("This console needs a token").fill(token);
    await page.keyboard.press("Enter");
    await isLive(page);
  };
  const openJobs = async (context: BrowserContext, text = "No jobs yet"): Promise<Page> => {
    const page = await context.newPage();
    page.on("pageerror", (error) => failures.push(error.message));
    await page.goto(`http://${network.host}:${network.port}/jobs`);
    await signIn(page, "first-token");
    await page.getByText(text).waitFor();
    return page;
  };

  it("show the same in two browsers and in two tabs of one, over a slow network", async () => {
    const one = await browser.newContext();
    const pages = [await openJobs(one), await openJobs(one), await openJobs(await browser.newContext())];
    network.set({ latencyMs: 150, jitterMs: 100 });
    addJob("job-7");
    for (const page of pages) await shows(page, "job-7");
  });

  it("compare two runs that are ticked in the list, and say what cannot be compared", async () => {
    for (const [jobId, submittedAt] of [
      ["job-new", 2],
      ["job-old", 1],
    ] as const) {
      jobs.push({ ...summaryOf(jobId), name: "load", status: "completed", submittedAt, finishedAt: 3 });
    }
    addJob("job-running");
    const page = await openJobs(await browser.newContext(), "Tick two runs");
    expect(await page.getByLabel("Compare job-running").isDisabled()).toBe(true);
    await page.getByLabel("Compare job-new").check();
    await page.getByText("Tick another run").waitFor();
    await page.getByLabel("Compare job-old").check();
    await page.getByRole("button", { name: "Compare these two" }).click();
    // The older one is what the newer one is compared with.
    await page.getByText("1 of 1 figures differs by more than chance explains.").waitFor();
    expect(await page.getByLabel("Run A").getByRole("link").textContent()).toBe("job-old");
    expect(await page.getByRole("row", { name: /requests per second/ }).allTextContents()).toEqual([
      "requests per second5001,000+100.0 %yes",
    ]);
    await page.getByRole("button", { name: "Swap A and B" }).click();
    await page.getByText("-50.0 %").waitFor();
    expect(new URL(page.url()).search).toBe("?a=job-new&b=job-old");
    await page.getByLabel("B, the run to judge").selectOption("job-new");
    await page.getByText("A and B are the same run").waitFor();
    await page.getByLabel("B, the run to judge").selectOption("");
    await page.getByText("Choose the other run").waitFor();
    await page.goBack();
    await page.goBack();
    await page.getByText("-50.0 %").waitFor();
    await page.goto(`${new URL(page.url()).origin}/compare?a=job-new&b=job-running`);
    await page.getByRole("alert").getByText("job-running is running").waitFor();
  });

  it("say what to do where there are not two runs to compare", async () => {
    const page = await openJobs(await browser.newContext());
    await page.getByRole("link", { name: "Compare", exact: true }).click();
    await page.getByText("There are not two runs to compare yet").waitFor();
  });

  it("say that the connection is lost when the server cuts it, and show what happened meanwhile", async () => {
    const page = await openJobs(await browser.newContext());
    await network.refuse();
    network.reset();
    await page.getByText("The connection to the gate is lost").waitFor();
    await page.getByText(/as of \d\d:\d\d:\d\d, /).waitFor();
    addJob("job-8");
    await network.heal();
    await isLive(page);
    await shows(page, "job-8");
    expect(await page.getByText("The connection to the gate is lost").count()).toBe(0);
  });

  it("say since when what they show is old and what is away, and go on by themselves when it is back", async () => {
    const page = await openJobs(await browser.newContext());
    addJob("job-11");
    await shows(page, "job-11");
    refusal = new TimeoutError("the question to the gate", 5_000);
    await page.getByText(/^As of \d\d:\d\d:\d\d, /).waitFor({ timeout: LIMIT_MS });
    await page
      .getByText("The list of jobs cannot be read now: the question to the gate took longer than 5000 ms.")
      .waitFor();
    await page.getByText("not up to date").waitFor();
    // What was known is still there to read.
    await shows(page, "job-11");
    addJob("job-12");
    refusal = undefined;
    await isLive(page);
    await shows(page, "job-12");
    expect(await page.getByText(/^As of /).count()).toBe(0);
  });

  it("say why there is nothing to show where nothing was ever seen, and show it as soon as it is there", async () => {
    // One of its own: what another test saw goes on to be shown until nobody has followed for a second.
    const away = new TimeoutError("the question to the gate", 5_000);
    const answer: { jobs?: JobSummary[] } = {};
    await using unseen = await setUp(
      { list: async () => (answer.jobs === undefined ? Promise.reject(away) : { jobs: answer.jobs }) },
      { clock: systemClock },
    );
    const page = await (await browser.newContext()).newPage();
    page.on("pageerror", (error) => failures.push(error.message));
    await page.goto(`${unseen.console.url}/jobs`);
    await page.getByText("The jobs cannot be read").waitFor({ timeout: LIMIT_MS });
    await page.getByText("the question to the gate took longer than 5000 ms").waitFor();
    answer.jobs = [summaryOf("job-13")];
    await shows(page, "job-13");
    expect(await page.getByText("The jobs cannot be read").count()).toBe(0);
    await page.context().close();
  });

  it("show what happened while they slept", async () => {
    const context = await browser.newContext();
    const page = await openJobs(context);
    const session = await context.newCDPSession(page);
    // Nothing of the page runs while it sleeps: no timer, no message.
    await session.send("Debugger.enable");
    await session.send("Debugger.pause");
    addJob("job-9");
    await page.context().newPage();
    network.reset();
    await session.send("Debugger.disable");
    await isLive(page);
    await shows(page, "job-9");
  });

  it("ask for another token when theirs is no longer good, and go on with it", async () => {
    const page = await openJobs(await browser.newContext());
    tokens.clear();
    tokens.set("second-token", ["read"]);
    network.reset();
    await page.getByText("signed out").waitFor({ timeout: LIMIT_MS });
    addJob("job-10");
    await signIn(page, "second-token");
    await shows(page, "job-10");
  });
});
