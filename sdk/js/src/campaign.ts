/**
 * The campaign that led here.
 *
 * In:       the address of the landing page.
 * Out:      its campaign parameters and click ids, by name.
 * Promise:  a single page application that rewrites its address before the first event loses none.
 * Not here: what they mean; the server reads them from any address too.
 */

const NAMES = /^(utm_\w+|gclid|gbraid|wbraid|dclid|fbclid|msclkid|ttclid|twclid|li_fat_id)$/;
// As many bytes as the server keeps of a name; some networks put whole documents here.
const VALUE_CHARS_MAX = 512;

export function campaignOf(url: string): Record<string, string> {
  const found: Record<string, string> = {};
  const query = url.split("#")[0]!.split("?").slice(1).join("?");
  new URLSearchParams(query).forEach((value, name) => {
    // The first of several counts, as at the server.
    if (NAMES.test(name) && value && !(name in found)) found[name] = value.slice(0, VALUE_CHARS_MAX);
  });
  return found;
}

/** Hands the campaign to the first event of a load and to its first page view. */
export function campaignOfLoad(url: string): (isPage: boolean) => Record<string, string> {
  const campaign = campaignOf(url);
  let first = true;
  let firstPage = true;
  return (isPage) => {
    const wanted = first || (isPage && firstPage);
    first = false;
    if (isPage) firstPage = false;
    return wanted ? campaign : {};
  };
}
