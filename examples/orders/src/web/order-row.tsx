import type { ReactNode } from "react";
import type { Order } from "./order-store.ts";

export const OrderRow = (props: {
  readonly order: Order;
  readonly onChange: (change: Pick<Order, "quantity"> | Pick<Order, "status">) => void;
  readonly onRemove: () => void;
}): ReactNode => {
  const { order, onChange, onRemove } = props;
  // Without the shop's own id there is nothing yet that could be changed.
  const isNew = order.id.startsWith("new-");
  const isShipped = order.status === "shipped";
  return (
    <li className={order.isPending === true ? "order pending" : "order"}>
      <span className="number">{isNew ? "new" : order.id}</span>
      <span className="item">{order.item}</span>
      <span className="stepper">
        <button
          type="button"
          aria-label={`One ${order.item} less`}
          disabled={isNew || isShipped || order.quantity <= 1}
          onClick={() => onChange({ quantity: order.quantity - 1 })}
        >
          −
        </button>
        <output aria-label={`Quantity of ${order.item}`}>{order.quantity}</output>
        <button
          type="button"
          aria-label={`One ${order.item} more`}
          disabled={isNew || isShipped}
          onClick={() => onChange({ quantity: order.quantity + 1 })}
        >
          +
        </button>
      </span>
      <span className={`badge ${order.status}`}>{order.isPending === true ? "saving" : order.status}</span>
      <button
        type="button"
        disabled={isNew}
        onClick={() => onChange({ status: isShipped ? "open" : "shipped" })}
      >
        {isShipped ? "Reopen" : "Ship"}
      </button>
      <button
        type="button"
        className="remove"
        aria-label={`Remove ${order.item}`}
        disabled={isNew}
        onClick={onRemove}
      >
        ×
      </button>
    </li>
  );
};
