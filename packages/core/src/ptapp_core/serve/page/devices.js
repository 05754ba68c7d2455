// The camera and the microphone of the browser.

/** What a playing video shows now, as a JPEG file. */
export function takePicture(video) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
}

/** Records a stream of the microphone as a WAV file, which every model of audio reads. */
export class Recorder {
  #recorder = null;

  get running() {
    return this.#recorder !== null;
  }

  async start(stream) {
    this.#recorder = new MediaRecorder(stream);
    this.#recorder.start();
  }

  async stop() {
    const recorder = this.#recorder;
    this.#recorder = null;
    const coded = await new Promise((resolve) => {
      recorder.addEventListener("dataavailable", (event) => resolve(event.data));
      recorder.stop();
    });
    for (const track of recorder.stream.getTracks()) track.stop();
    const context = new AudioContext();
    const sound = await context.decodeAudioData(await coded.arrayBuffer());
    await context.close();
    return wav(sound.getChannelData(0), sound.sampleRate);
  }
}

/** Samples from -1 to 1 as a WAV file: one channel of 16 bits. */
function wav(samples, rate) {
  const bytes = 2 * samples.length;
  const view = new DataView(new ArrayBuffer(44 + bytes));
  const text = (place, value) => [...value].forEach((letter, i) => view.setUint8(place + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + bytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // the size of the format
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true); // bytes a second
  view.setUint16(32, 2, true); // bytes of a sample
  view.setUint16(34, 16, true); // bits
  text(36, "data");
  view.setUint32(40, bytes, true);
  samples.forEach((value, i) => {
    const limited = Math.max(-1, Math.min(1, value));
    view.setInt16(44 + 2 * i, Math.round(limited * 32767), true);
  });
  return new Blob([view], { type: "audio/wav" });
}
