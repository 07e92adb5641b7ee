/** The part of opossum that the bench uses; the package ships no types. */
declare module "opossum" {
  export default class CircuitBreaker<T> {
    constructor(
      action: () => Promise<T>,
      options: { readonly timeout: number | false; readonly enableSnapshots?: boolean },
    );
    fire(): Promise<T>;
    shutdown(): void;
  }
}
