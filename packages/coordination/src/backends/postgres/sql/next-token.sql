-- Draws one fence token. Inputs: none. Result: the token.
SELECT :"schema".next_token() AS token
