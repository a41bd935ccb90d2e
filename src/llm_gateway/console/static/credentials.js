// The page with a new key answers a form. A reload is to ask for the credential's page, not to send the form again.
"use strict";

const keyPage = document.querySelector("[data-reload]");
if (keyPage) history.replaceState(null, "", keyPage.dataset.reload);
