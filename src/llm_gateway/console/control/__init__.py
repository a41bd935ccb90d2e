"""What the pages of credentials, tenants, projects and budgets show besides their rows."""
