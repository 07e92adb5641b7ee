import type { ReactNode } from "react";
import { Link } from "./link.tsx";

/** A large figure with its name, as the top of a page has several of in a row. */
export const Figure = (props: {
  readonly label: string;
  readonly value: string;
  /** A page that says more. */
  readonly to?: string;
}): ReactNode => (
  <div>
    <dt>{props.label}</dt>
    <dd>{props.to === undefined ? props.value : <Link to={props.to}>{props.value}</Link>}</dd>
  </div>
);
