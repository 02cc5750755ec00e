"""Reads reports as others do.

report.py files SCHEMA DIRECTORY                      report.json against its schema, junit.xml by junitparser
report.py browser CHROMIUM DIRECTORY [SCREENSHOTS]    report.html in a browser: layout, order, colours, errors

DIRECTORY holds directories that `--report` wrote: `failed` of a package below its threshold, `release` of several variants
of which one fails, and others that passed.
"""

import json
import pathlib
import sys


def reports(directory):
    return sorted(page.parent for page in pathlib.Path(directory).glob("*/report.html"))


def files(schema, directory):
    import jsonschema
    import junitparser

    validator = jsonschema.Draft202012Validator(json.loads(pathlib.Path(schema).read_text()))
    validator.check_schema(validator.schema)
    documents = sorted(pathlib.Path(directory).glob("**/report.json"))
    assert len(documents) >= 9, documents
    for document in documents:
        faults = [error.message for error in validator.iter_errors(json.loads(document.read_text()))]
        assert not faults, (document, faults)
    found = reports(directory)
    assert len(found) >= 8, found
    for report in found:
        suites = list(junitparser.JUnitXml.fromfile(str(report / "junit.xml")))
        assert suites and all(suite.tests for suite in suites), report
        failures = sum(suite.failures for suite in suites)
        assert (failures > 0) == (report.name in ("failed", "release")), (report, failures)
        for suite in suites:
            results = [result for case in suite for result in case.result if isinstance(result, junitparser.Failure)]
            assert len(results) == suite.failures
            assert all("would pass" in result.text and "input " in result.text for result in results), report
        text = (report / "report.md").read_text()
        assert len(text.encode()) <= 1 << 20 and text.startswith("## "), report
        assert ("Failed" in text.splitlines()[0]) == (failures > 0)
    print(f"{len(documents)} reports and {len(found)} suites are what they should be")


# What a person would notice.
LOOK = """() => {
    const inside = window.innerWidth;
    const wide = [...document.body.querySelectorAll('*')].filter(element => {
        const box = element.getBoundingClientRect();
        return box.width > 0 && (box.right > inside + 1 || box.left < -1) && getComputedStyle(element).position !== 'absolute';
    }).map(element => element.outerHTML.slice(0, 80));
    const thin = [...document.querySelectorAll('td, tbody th, caption, dd, p')].filter(element => {
        const box = element.getBoundingClientRect();
        return element.innerText.length > 4 && box.width > 0 && box.width < 24;
    }).map(element => element.outerHTML.slice(0, 80));
    const cut = [...document.querySelectorAll('svg text')].filter(text => {
        const box = text.getBoundingClientRect(), svg = text.ownerSVGElement.getBoundingClientRect();
        return box.left < svg.left - 1 || box.right > svg.right + 1 || box.bottom > svg.bottom + 1;
    }).map(text => text.textContent);
    const light = colour => {
        const [r, g, b] = colour.match(/[0-9.]+/g).map(Number).map(c => c / 255)
            .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = element => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (!/rgba\\(.*, 0\\)/.test(colour)) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const faint = [...document.querySelectorAll('h1, h2, h3, p, td, th, dt, dd, a, .badge, .verdict')].map(element => {
        const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
        return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.outerHTML.slice(0, 80)];
    }).filter(([ratio]) => ratio < 4.5);
    const verdict = document.querySelector('.verdict').getBoundingClientRect();
    return {
        overflow: document.documentElement.scrollWidth - inside, wide, thin, cut, faint, background: getComputedStyle(document.body).backgroundColor,
        above: verdict.top, seen: verdict.bottom < window.innerHeight, first: document.body.innerText.trim().split('\\n')[0],
        headings: [...document.querySelectorAll('h2, h3, h4')].map(heading => heading.innerText.trim()),
        charts: document.querySelectorAll('svg[role=img][aria-label]').length,
        scripts: document.scripts.length, title: document.title,
    };
}"""

SECTIONS = ["Outputs", "Errors", "Worst inputs", "Gate", "Provenance"]
# Those of `verify`; a release looks at none of it.
NUMERICS = ["Numerics", "Headroom", "Rules the prediction follows"]


def browser(chromium, directory, screenshots=None):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        looked = 0
        for report in reports(directory):
            for width, height in ((400, 800), (1400, 900)):
                grounds = set()
                for scheme in ("light", "dark"):
                    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                    errors, fetched = [], []
                    page.on("console", lambda message: errors.append(message.text))
                    page.on("pageerror", lambda error: errors.append(str(error)))
                    page.on("request", lambda request: fetched.append(request.url))
                    page.goto(f"file://{report}/report.html")
                    seen = page.evaluate(LOOK)
                    place = (report.name, width, scheme)
                    assert not errors and len(fetched) == 1, (place, errors, fetched)
                    for fault in ("wide", "thin", "cut", "faint"):
                        assert not seen[fault], (place, fault, seen[fault][:5])
                    assert seen["overflow"] <= 0 and seen["seen"] and seen["above"] < 200, (place, seen)
                    failed = report.name in ("failed", "release")
                    assert ("Failed" in seen["first"]) == failed and seen["title"].startswith("Failed" if failed else "Passed"), (place, seen)
                    release = report.name == "release"
                    sections = SECTIONS if release else SECTIONS + NUMERICS
                    assert all(section in seen["headings"] for section in sections), (place, seen["headings"])
                    assert seen["charts"] >= (2 if release else 3) and seen["scripts"] == 0, (place, seen)
                    grounds.add(seen["background"])
                    if screenshots:
                        pathlib.Path(screenshots).mkdir(parents=True, exist_ok=True)
                        page.screenshot(path=f"{screenshots}/{report.name}-{width}-{scheme}.png", full_page=True, timeout=120_000)
                    looked += 1
                    page.close()
                assert len(grounds) == 2, (report, grounds)
            page = browser.new_page()
            page.goto(f"file://{report}/report.html")
            assert page.pdf(format="A4").startswith(b"%PDF"), report
            page.close()
        browser.close()
    print(f"{looked} looks at {len(reports(directory))} pages")


if __name__ == "__main__":
    {"files": files, "browser": browser}[sys.argv[1]](*sys.argv[2:])
