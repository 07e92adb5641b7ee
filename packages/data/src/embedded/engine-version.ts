/** The exact version of PGlite in package.json; a test compares the two. Names the image. */
export const ENGINE_VERSION = "0.5.14";
/** The PostgreSQL that it contains. A data directory works with one major version only. */
export const ENGINE_POSTGRES_MAJOR = 18;
