"""What the pages of every resource are made of: lists, forms, verbs, and edits that overwrite nobody's."""
