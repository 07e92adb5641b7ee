export { describeService } from "./describe-service.ts";
