export { describeService } from "./describe-service.ts";
export { expectNoLeaks } from "./expect-no-leaks.ts";
