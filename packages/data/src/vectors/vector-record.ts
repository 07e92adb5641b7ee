import { InvalidInputError } from "@holdfast/kernel";
import type { FilterColumns, FilterValue } from "./filter.ts";
import type { Metadata } from "./metadata.ts";
import type { VectorType, VectorValue } from "./vector-type.ts";

/** A row as it is written. A field, or a column, that the collection does not have is refused by its name. */
export interface VectorRecord<T extends VectorType, Columns extends FilterColumns> {
  readonly namespace: string;
  readonly key: string;
  readonly vector: VectorValue<T>;
  readonly value?: string | null | undefined;
  /** What JSON gives back as it was: no bigint, NaN, function or Map. Properties that are `undefined` are left out. */
  readonly metadata?: Metadata | undefined;
  readonly columns?: { readonly [Name in keyof Columns]?: FilterValue<Columns[Name]> | null } | undefined;
}

/** The last three are in rows that were read; the database gives a row its own. */
const FIELDS = [
  ...["namespace", "key", "vector", "value", "metadata", "columns"],
  ...["id", "createdAt", "updatedAt"],
];

/** @throws InvalidInputError naming the field that would be lost. */
export const refuseUnknownFields = <T extends VectorType, Columns extends FilterColumns>(
  record: VectorRecord<T, Columns>,
  columns: Columns,
): void => {
  for (const name of Object.keys(record)) {
    if (!FIELDS.includes(name)) {
      throw new InvalidInputError(
        name,
        name,
        `one of ${FIELDS.join(", ")}; others belong into columns or metadata`,
      );
    }
  }
  for (const name of Object.keys(record.columns ?? {})) {
    if (!Object.hasOwn(columns, name)) {
      throw new InvalidInputError(`columns.${name}`, name, "a column of the collection");
    }
  }
};
