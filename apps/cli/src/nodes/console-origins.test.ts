import { expect, it } from "vitest";
import { parseAllowedOrigins } from "./console-origins.ts";

it("takes the console's other names as browsers send them", () => {
  expect(parseAllowedOrigins("https://ops.example, http://console.lan:7400,https://ops.example")).toEqual([
    "https://ops.example",
    "http://console.lan:7400",
  ]);
});

it.each([
  ["https://ops.example/", "did you mean https://ops.example?"],
  ["https://Ops.example:443", "did you mean https://ops.example?"],
  ["https://ops.example/console", "did you mean https://ops.example?"],
  ["ops.example", "such as https://ops.example"],
  ["*", "such as https://ops.example"],
  ["ftp://ops.example", "such as https://ops.example"],
  ["", "such as https://ops.example"],
])("refuses %s, which no browser sends, and says what it would", (text, hint) => {
  expect(() => parseAllowedOrigins(text)).toThrow(hint);
  expect(() => parseAllowedOrigins(text)).toThrow(JSON.stringify(text));
});
