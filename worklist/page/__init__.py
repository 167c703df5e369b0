"""The page: server-rendered, one style sheet, one script, nothing loaded from elsewhere."""
