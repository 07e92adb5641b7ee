const TOKEN_KEY = "holdfast-token";

/** The token of this browser tab, if somebody signed in. */
export const storedToken = (): string | undefined => sessionStorage.getItem(TOKEN_KEY) ?? undefined;

export const storeToken = (token: string): void => sessionStorage.setItem(TOKEN_KEY, token);
