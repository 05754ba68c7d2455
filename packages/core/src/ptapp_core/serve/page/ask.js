// Requests to the server that the page came from.

let token = sessionStorage.getItem("token");

/** Sends this token from now on. */
export function useToken(given) {
  token = given;
  sessionStorage.setItem("token", token);
}

/** What an address answers; an Error with the server's own line, and the status, where it refuses. */
async function respond(path, options) {
  const headers = { ...options.headers, ...(token ? { authorization: `Bearer ${token}` } : {}) };
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  const { error } = await response.json();
  throw Object.assign(new Error(error), { status: response.status });
}

/** The JSON that an address answers. */
export const ask = async (path, options = {}) => (await respond(path, options)).json();

/** Each line of JSON that an address answers, as soon as it is there; an Error where the last says so. */
export async function* askLines(path, options) {
  const response = await respond(path, options);
  let rest = "";
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const content = JSON.parse(line);
      if (content.error !== undefined) throw new Error(content.error);
      yield content;
    }
  }
  if (rest) yield JSON.parse(rest);
}
