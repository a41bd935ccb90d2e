// The images of the next message: picked as files or pasted, held as data URLs of bounded size.
"use strict";

const PlaygroundImages = (() => {
  const { element, button } = PlaygroundText;
  const TYPES = ["image/png", "image/jpeg", "image/webp", "image/gif"];
  const MOST = 8;
  const LARGEST = 5 * 1024 * 1024;

  function read(file) {
    return new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.addEventListener("load", () => resolve(reader.result));
      reader.addEventListener("error", () => reject(reader.error));
      reader.readAsDataURL(file);
    });
  }

  function preview(url, name) {
    const image = element("img", "pg-preview");
    image.src = url;
    image.alt = name;
    return image;
  }

  class ImagePicker {
    constructor({ list, picker, prompt, onProblem, onChange }) {
      this.list = list;
      this.images = [];
      this.onProblem = onProblem;
      this.onChange = onChange;
      picker.addEventListener("change", async () => {
        await this.add([...picker.files]);
        picker.value = "";
      });
      prompt.addEventListener("paste", (event) => {
        const files = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
        if (!files.length) return;
        event.preventDefault();
        this.add(files);
      });
    }

    async add(files) {
      this.onProblem("");
      for (const file of files) {
        if (!TYPES.includes(file.type)) {
          this.onProblem(`${file.name} is not an image that models read: use PNG, JPEG, WebP or GIF.`);
        } else if (file.size > LARGEST) {
          this.onProblem(`${file.name} is larger than ${LARGEST / 1024 / 1024} MiB. Make it smaller and add it again.`);
        } else if (this.images.length >= MOST) {
          this.onProblem(`A message has at most ${MOST} images here.`);
          break;
        } else {
          this.images.push({ url: await read(file), name: file.name });
        }
      }
      this.show();
    }

    show() {
      this.list.replaceChildren(...this.images.map((image, at) => {
        const remove = button("Remove", "quiet", () => {
          this.images.splice(at, 1);
          this.show();
        });
        remove.setAttribute("aria-label", `Remove ${image.name}`);
        return element("li", "", preview(image.url, image.name), remove);
      }));
      this.onChange();
    }

    take() {
      const taken = this.images;
      this.images = [];
      this.show();
      return taken;
    }
  }

  return { ImagePicker, preview };
})();
