// What there is to scroll through: per series a stack of views, one for each image, and for each frame of an image that
// has many. A view says where its words are, or why there are none.

const NO_MARKS = Object.freeze([]); // networks read objects of one frame: what they mark lies on the first

export class Stacks {
  constructor() {
    this.series = []; // {modality, description, images: views}
    this.later = new Map(); // views of second and later frames, by image and number: they are asked for one by one
  }

  /** What `…/views` answers. */
  take(series) {
    this.series = series.filter((each) => each.images.length)
      .map((each) => ({ ...each, images: each.images.flatMap((image) => this.framesOf(image)) }));
  }

  framesOf(image) {
    const first = { ...image, number: 1 };
    return [first, ...Array.from({ length: image.frames - 1 }, (_, index) => this.laterFrame(image, index + 2))];
  }

  laterFrame(image, number) {
    const key = `${image.sop_instance_uid} ${number}`;
    if (!this.later.has(key)) {
      this.later.set(key, {
        sop_instance_uid: image.sop_instance_uid, frames: image.frames, number, status: null, reason: "", url: null,
        frame: null, preview_url: null, rate: image.rate, marks: NO_MARKS,
      });
    }
    return this.later.get(key);
  }

  /** What `…/frames` answers of an image. */
  takeFrames(uid, frames) {
    for (const { number, ...told } of frames) {
      if (number > 1) Object.assign(this.later.get(`${uid} ${number}`) ?? {}, told);
    }
  }

  /** Where a frame of an image is: {series, image}; null where it is not. */
  find(uid, number) {
    for (const [series, { images }] of this.series.entries()) {
      const image = images.findIndex((view) => view.sop_instance_uid === uid && view.number === number);
      if (image >= 0) return { series, image };
    }
    return null;
  }

  /** All views with a mark of this finding, or with any: [{series, image}]. */
  marked(key) {
    return this.series.flatMap(({ images }, series) => images.flatMap((view, image) =>
      view.marks.some((mark) => key === null || mark.key === key) ? [{ series, image }] : []));
  }
}
