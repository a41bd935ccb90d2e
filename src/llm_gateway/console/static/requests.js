// The filter is closed on narrow screens, unless it is used: the requests come first there.
"use strict";

for (const filter of document.querySelectorAll("[data-narrow-closed]")) {
  if (window.matchMedia("(max-width: 55rem)").matches) filter.open = false;
}
