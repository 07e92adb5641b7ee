import { simulate } from "@holdfast/testkit/simulator";
const [from, to, f] = process.argv.slice(2).map(Number);
const t0 = performance.now(); let v = 0, ms = 0;
setInterval(()=>{}, 1000);
for (let s = from!; s < to!; s++) { const t=performance.now(); const r = await simulate({ seed: s, faultsForMs: f! }); ms += r.virtualMs; if (r.violations.length) { v++; console.log("seed", s, r.violations.slice(0,4), Math.round(performance.now()-t)); } }
console.log("violating seeds", v, "virtual s", Math.round(ms/1000), "real ms", Math.round(performance.now()-t0));
process.exit(0);
