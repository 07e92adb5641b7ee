-- A claim writes a task anew and adds to the index an entry beside the one that is there. Ids of our own making grow, so
-- pages of the index were filled to the brim as tasks were added, and the claim split each of them, having tried in vain
-- to make room. Left half empty they hold both entries, on as many pages in the end.
ALTER INDEX :"schema".tasks_pkey SET (fillfactor = 50);
