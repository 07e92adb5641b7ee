-- A payload is JSON text, which the store only keeps: as json the server would read every one of them, twice where it is
-- added and in another form where it is claimed.
ALTER TABLE :"schema".tasks ALTER COLUMN payload TYPE text;
-- next
-- A change of the type forgets this; see 0002.
ALTER TABLE :"schema".tasks ALTER COLUMN payload SET STORAGE EXTERNAL;
