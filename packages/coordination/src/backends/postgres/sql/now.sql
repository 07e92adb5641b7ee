-- The store's clock. Inputs: none. Result: milliseconds since the epoch.
SELECT :"schema".to_ms(clock_timestamp()) AS now
