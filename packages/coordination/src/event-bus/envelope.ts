import type { BusEvent, EventPriority, HandlerFailure } from "./bus-event.ts";
import type { Confirmation } from "./confirmations.ts";

/** An event on its way, with what the bus needs to know about it. Handlers see it as a {@link BusEvent}. */
export class Envelope implements BusEvent {
  readonly type: string;
  readonly data: unknown;
  readonly priority: EventPriority;
  /** The lane of its priority. */
  readonly lane: number;
  readonly isCritical: boolean;
  readonly createdAt: number;
  sequence = 0;
  /** Deliveries that have not settled; 0 before it is handed out. */
  openCount = 0;
  handlerCount = 0;
  /** Whether some handler never ran, or was cut short, when the bus stopped. */
  isCutShort = false;
  failures: HandlerFailure[] | undefined;
  readonly confirmation: Confirmation | undefined;

  constructor(
    type: string,
    data: unknown,
    priority: EventPriority,
    lane: number,
    isCritical: boolean,
    createdAt: number,
    confirmation: Confirmation | undefined,
  ) {
    this.type = type;
    this.data = data ?? {};
    this.priority = priority;
    this.lane = lane;
    this.isCritical = isCritical;
    this.createdAt = createdAt;
    this.confirmation = confirmation;
  }
}
