// Shows text as it arrives: fenced code in boxes, all else as it stands. Text never becomes HTML.
"use strict";

const PlaygroundText = (() => {
  const FENCE = /^ {0,3}(?:```+|~~~+)[^`]*$/;
  // The beginning of a line that may still become a fence.
  const MAYBE = /^ {0,3}(?:`{1,2}|~{1,2}|(?:```|~~~)[^`]*)?$/;

  function element(tag, className, ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children);
    return made;
  }

  function button(text, style, onClick) {
    const made = element("button", `button ${style}`, text);
    made.type = "button";
    made.addEventListener("click", onClick);
    return made;
  }

  function codeBox(label) {
    const code = element("code");
    const pre = element("pre", "", code);
    pre.tabIndex = 0;
    const copy = element("button", "button quiet copy", "Copy");
    copy.type = "button";
    copy.hidden = !navigator.clipboard;
    const box = element("div", "code");
    if (label) box.append(element("span", "code-label", label));
    box.append(pre, copy);
    return { box, code, copy };
  }

  class TextView {
    constructor(place) {
      this.place = place;
      this.show("");
    }

    show(text) {
      this.place.replaceChildren();
      this.node = null;
      this.isCode = false;
      this.isInLine = false;
      this.line = "";
      this.add(text);
      if (text) this.end();
    }

    add(text) {
      this.line += text;
      for (let end = this.line.indexOf("\n"); end >= 0; end = this.line.indexOf("\n")) {
        this.takeLine(this.line.slice(0, end + 1));
        this.line = this.line.slice(end + 1);
      }
      if (this.line && (this.isInLine || !MAYBE.test(this.line))) {
        this.write(this.line);
        this.isInLine = true;
        this.line = "";
      }
    }

    end() {
      if (this.line) this.takeLine(this.line);
      this.line = "";
    }

    takeLine(line) {
      const isFence = !this.isInLine && FENCE.test(line.trimEnd());
      this.isInLine = false;
      if (!isFence) {
        this.write(line);
        return;
      }
      this.isCode = !this.isCode;
      // Blank lines around code are its margins.
      if (this.isCode && this.node) this.node.data = this.node.data.trimEnd();
      this.node = null;
      if (this.isCode) this.begin(line.replace(/[`~]/g, "").trim());
    }

    write(text) {
      const added = this.node === null ? text.replace(/^\n+/, "") : text;
      if (!added) return;
      if (this.node === null) this.begin("");
      this.node.appendData(added);
    }

    begin(label) {
      this.node = document.createTextNode("");
      if (!this.isCode) {
        this.place.append(element("p", "pg-text", this.node));
        return;
      }
      const { box, code, copy } = codeBox(label);
      // console.js copies the text beside it.
      copy.dataset.copy = "";
      code.append(this.node);
      this.place.append(box);
    }
  }

  return { TextView, element, button, codeBox };
})();
