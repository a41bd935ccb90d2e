"""Forms: fields as text in the browser, as values in bodies, with what is wrong beside each."""
