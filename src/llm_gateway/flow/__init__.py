"""What happens to a request, in reading order: pipeline, admission, planning, dispatch, reply, metering."""
