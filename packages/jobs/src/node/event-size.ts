export { approximateBytes } from "../model/approximate-bytes.ts";
