// What views are written with: `html` templates, and Preact's hooks.

import htm from "./vendor/htm.js";
import { h } from "./vendor/preact.js";

export { h, render, Fragment, createContext } from "./vendor/preact.js";
export {
  useCallback, useContext, useEffect, useErrorBoundary, useId, useLayoutEffect, useMemo, useReducer, useRef, useState,
} from "./vendor/preact-hooks.js";

export const html = htm.bind(h);
