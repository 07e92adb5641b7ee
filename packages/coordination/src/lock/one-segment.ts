/** A name without slashes, so that what lies below one name is never taken for what lies below another. */
export const oneSegment = (name: string): string => name.replaceAll("%", "%25").replaceAll("/", "%2F");
