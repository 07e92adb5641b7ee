import { checkPlainJson, InvalidInputError } from "@holdfast/kernel";

export type Metadata = Readonly<Record<string, unknown>>;

/** The same, when JSON gives it back as it is. @throws InvalidInputError naming the path of what JSON would lose. */
export const checkedMetadata = (field: string, metadata: Metadata): Metadata => {
  if (typeof metadata !== "object" || Array.isArray(metadata)) {
    throw new InvalidInputError(field, metadata, "an object");
  }
  checkPlainJson(field, metadata);
  return metadata;
};
