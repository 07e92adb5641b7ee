import { InvalidInputError } from "@holdfast/kernel";
import type { PushDefinition, RequestDefinition, StreamDefinition } from "@holdfast/protocol/contract";
import type { Handlers, Peer, PushHandler, RequestHandler, StreamHandler } from "./peer.ts";

export interface HandlersOptions {
  /**
   * Asked for each message after its scope and before its schema, with only its definition: the place for
   * rate limits and load shedding. An error that it returns answers the request (or drops the push).
   * Must be fast and must not throw.
   */
  readonly admit?: (
    definition: RequestDefinition | StreamDefinition | PushDefinition,
    peer: Peer,
  ) => Error | undefined;
}

/** An empty set of handlers, to be shared by all connections of a node. */
export const createHandlers = (options: HandlersOptions = {}): Handlers => new HandlerTable(options);

interface RequestEntry {
  readonly definition: RequestDefinition;
  readonly handler: RequestHandler<RequestDefinition>;
}

interface StreamEntry {
  readonly definition: StreamDefinition;
  readonly handler: StreamHandler<StreamDefinition>;
}

interface PushEntry {
  readonly definition: PushDefinition;
  readonly handler: PushHandler<PushDefinition>;
}

/** Finds the handler of a message by its name. */
export class HandlerTable implements Handlers {
  readonly admit: NonNullable<HandlersOptions["admit"]>;
  readonly #requests = new Map<string, RequestEntry>();
  readonly #streams = new Map<string, StreamEntry>();
  readonly #pushes = new Map<string, PushEntry>();

  constructor(options: HandlersOptions) {
    this.admit = options.admit ?? (() => undefined);
  }

  onRequest<D extends RequestDefinition>(definition: D, handler: RequestHandler<D>): void {
    this.#claim(definition.name);
    // The input is parsed by this very definition before the handler is called.
    this.#requests.set(definition.name, {
      definition,
      handler: handler as RequestHandler<RequestDefinition>,
    });
  }

  onStream<D extends StreamDefinition>(definition: D, handler: StreamHandler<D>): void {
    this.#claim(definition.name);
    this.#streams.set(definition.name, { definition, handler: handler as StreamHandler<StreamDefinition> });
  }

  onPush<D extends PushDefinition>(definition: D, handler: PushHandler<D>): void {
    this.#claim(definition.name);
    this.#pushes.set(definition.name, { definition, handler: handler as PushHandler<PushDefinition> });
  }

  request(name: string): RequestEntry | undefined {
    return this.#requests.get(name);
  }

  streamed(name: string): StreamEntry | undefined {
    return this.#streams.get(name);
  }

  pushed(name: string): PushEntry | undefined {
    return this.#pushes.get(name);
  }

  #claim(name: string): void {
    if (this.#requests.has(name) || this.#streams.has(name) || this.#pushes.has(name)) {
      throw new InvalidInputError("definition.name", name, "a message that has no handler yet");
    }
  }
}

/** @throws InvalidInputError when the handlers are not from {@link createHandlers}. */
export const handlerTableOf = (handlers: Handlers | undefined): HandlerTable => {
  if (handlers === undefined) return new HandlerTable({});
  if (handlers instanceof HandlerTable) return handlers;
  throw new InvalidInputError("handlers", typeof handlers, "made by createHandlers()");
};
