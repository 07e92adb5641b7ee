/** What a payload may hold: plain JSON, so that every backend and the wire keep it unchanged. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
