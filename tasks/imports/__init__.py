"""Public corpora of clinical cases, laid out as sources in MIMIC-IV's layout."""
