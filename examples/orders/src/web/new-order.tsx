import { type ReactNode, useState } from "react";

export const NewOrder = ({
  onCreate,
}: {
  readonly onCreate: (item: string, quantity: number) => void;
}): ReactNode => {
  const [item, setItem] = useState("");
  const [quantity, setQuantity] = useState("1");
  return (
    <form
      className="new-order"
      onSubmit={(event) => {
        event.preventDefault();
        onCreate(item.trim(), Number(quantity));
        setItem("");
        setQuantity("1");
      }}
    >
      <label>
        Item
        <input
          value={item}
          required
          pattern=".*\S.*"
          maxLength={80}
          placeholder="Green tea"
          onChange={(event) => setItem(event.target.value)}
        />
      </label>
      <label className="quantity">
        Quantity
        <input
          type="number"
          value={quantity}
          required
          min={1}
          max={9999}
          onChange={(event) => setQuantity(event.target.value)}
        />
      </label>
      <button type="submit" className="primary">
        Take order
      </button>
    </form>
  );
};
