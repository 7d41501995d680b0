"""From web pages to clean documents: reading, extraction, rules, duplicates, benchmark text; `pipeline` runs it all."""
