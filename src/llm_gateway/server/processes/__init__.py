"""Server processes: the supervisor, workers and their listening socket."""
