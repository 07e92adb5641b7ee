export { describeService } from "./describe-service.ts";
export { expectFigure, type Figure, type FigureBound } from "./expect-figure.ts";
export { expectNoLeaks } from "./expect-no-leaks.ts";
