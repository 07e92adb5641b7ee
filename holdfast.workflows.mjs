// What `npm start` in this repository offers. In a project of your own, export your workflows from a file of
// this name.
export * from "./examples/import/dist/workflows.js";
export * from "./examples/load-test/dist/workflows.js";
