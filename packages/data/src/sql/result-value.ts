/** Turns the text form of one column value into what callers get. */
export type ValueReader = (text: string) => unknown;

const readText: ValueReader = (text) => text;
const readNumber: ValueReader = (text) => Number(text);
const readBoolean: ValueReader = (text) => text === "t";
const readJson: ValueReader = (text) => JSON.parse(text);
const readBytes: ValueReader = (text) => Buffer.from(text.slice(2), "hex");

// "2026-11-21 06:27:16.707123+05:30", "0044-03-15 00:00:00+00 BC", "infinity"
const TIMESTAMP =
  /^(\d{4,})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(\.\d+)?([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?( BC)?$/;

/** Reads timestamptz in ISO style. Digits below a millisecond are cut; ±infinity become ±Infinity. */
const readInstant: ValueReader = (text) => {
  const match = TIMESTAMP.exec(text);
  if (match === null) {
    if (text === "infinity") return Number.POSITIVE_INFINITY;
    if (text === "-infinity") return Number.NEGATIVE_INFINITY;
    throw new TypeError(`not a timestamp in ISO style: ${text}`);
  }
  const part = (index: number): number => Number(match[index] ?? 0);
  const date = new Date(0);
  date.setUTCFullYear(match[12] === undefined ? part(1) : 1 - part(1), part(2) - 1, part(3));
  date.setUTCHours(part(4), part(5), part(6), Math.floor(part(7) * 1000 + 1e-6));
  const offsetMs = ((part(9) * 60 + part(10)) * 60 + part(11)) * 1000;
  return new Date(date.getTime() + (match[8] === "-" ? offsetMs : -offsetMs));
};

/** Object ids are fixed by PostgreSQL (src/include/catalog/pg_type.dat): type, its array type, its reader. */
const TYPES: readonly (readonly [oid: number, arrayOid: number, reader: ValueReader])[] = [
  [16, 1000, readBoolean],
  [17, 1001, readBytes],
  [18, 1002, readText], // char
  [19, 1003, readText], // name
  [20, 1016, readText], // int8
  [21, 1005, readNumber],
  [23, 1007, readNumber],
  [25, 1009, readText], // text
  [26, 1028, readNumber],
  [114, 199, readJson],
  [700, 1021, readNumber],
  [701, 1022, readNumber],
  [869, 1041, readText], // inet
  [1042, 1014, readText], // bpchar
  [1043, 1015, readText], // varchar
  [1082, 1182, readText], // date
  [1083, 1183, readText], // time
  [1114, 1115, readText], // timestamp
  [1184, 1185, readInstant],
  [1186, 1187, readText], // interval
  [1700, 1231, readText], // numeric
  [2950, 2951, readText], // uuid
  [3802, 3807, readJson],
];

const readers = new Map<number, ValueReader>();

/** The reader for a column of type `oid`; text for every type not listed in {@link TYPES}. */
export const readerOf = (oid: number): ValueReader => readers.get(oid) ?? readText;

/** Reads an array in its text form, for example `{1,2,NULL}`, `{{"a\"b",c}}` or `[0:1]={1,2}`. */
const readArray = (text: string, readItem: ValueReader): unknown[] => {
  let at = text.indexOf("{");
  const readLevel = (): unknown[] => {
    const items: unknown[] = [];
    at += 1;
    while (text[at] !== "}") {
      if (text[at] === ",") at += 1;
      else if (text[at] === "{") items.push(readLevel());
      else if (text[at] === '"') items.push(readItem(readQuoted()));
      else {
        const end = endOfBare();
        const item = text.slice(at, end);
        items.push(item === "NULL" ? null : readItem(item));
        at = end;
      }
    }
    at += 1;
    return items;
  };
  const readQuoted = (): string => {
    let item = "";
    for (at += 1; text[at] !== '"'; at += 1) {
      if (text[at] === "\\") at += 1;
      item += text[at];
    }
    at += 1;
    return item;
  };
  const endOfBare = (): number => {
    let end = at;
    while (text[end] !== "," && text[end] !== "}") end += 1;
    return end;
  };
  return readLevel();
};

for (const [oid, arrayOid, reader] of TYPES) {
  readers.set(oid, reader);
  readers.set(arrayOid, (text) => readArray(text, reader));
}
