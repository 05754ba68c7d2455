"""The page at `/` in a real browser: what it shows is what the server answers."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from serve.running import Running, picture, serving, until, write_model

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
FOLDER = Path(__file__).parents[2] / "packages" / "core" / "src" / "ptapp_core" / "serve" / "page"
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (Debian: apt install chromium-driver)"
)


class Page:
    """The page of a server, as a browser shows it."""

    def __init__(self, browser: webdriver.Chrome, server: Running) -> None:
        self.browser = browser
        self.server = server
        browser.get(server.url)
        until(lambda: self.text("status") not in ("", "The models are being looked up.") or self.shown("ask-token"))

    def find(self, id: str) -> WebElement:
        return self.browser.find_element(By.ID, id)

    def text(self, id: str) -> str:
        return self.find(id).text

    def shown(self, id: str) -> bool:
        return self.find(id).is_displayed()

    def choose(self, model: str) -> None:
        Select(self.find("model")).select_by_value(model)
        until(lambda: f"Version\n{self.version(model)}" in self.text("about"))

    def version(self, model: str) -> str:
        return next(each["main"] for each in self.server.get("/models").json()["models"] if each["name"] == model)

    def answers(self) -> list[str]:
        return [item.text for item in self.browser.find_elements(By.CSS_SELECTOR, "#answers > li")]

    def said(self) -> str:
        """What the newest answer is."""
        return until(lambda: self.browser.find_elements(By.CSS_SELECTOR, "#answers > li .said"))[0].text


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("page")
    for place, takes in enumerate(("image", "audio", "text", "observation", "pair")):
        names = {"pair": ["premise", "hypothesis"]} if takes == "pair" else {}
        write_model(
            folder / "models" / takes / str(place + 1), takes=takes, input="three numbers", model="toy", **names
        )
    write_model(folder / "models" / "story" / "1", takes="text", streams=True)
    write_model(folder / "models" / "both" / "1", takes="text", targets=["mood", "age"])
    write_model(folder / "models" / "game" / "1", takes="observation", plays=True)
    write_model(folder / "models" / "text" / "9", takes="text", scale=-1.0, classes=["<b>x</b>", "y", "z"])
    with serving(folder, folder / "models", "--split", "text=3:90,9:10") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = Options()
    options.binary_location = CHROMIUM or ""
    for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1100,900"):
        options.add_argument(f"--{word}")
    # A camera that shows a turning disc and a microphone that beeps, without a question to the user.
    options.add_argument("--use-fake-device-for-media-stream")
    options.add_argument("--use-fake-ui-for-media-stream")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: webdriver.Chrome, server: Running) -> Page:
    return Page(browser, server)


def test_a_text_is_answered_by_the_keyboard_alone(page: Page) -> None:
    page.choose("text")
    page.find("text").send_keys("1 2 9", Keys.TAB, Keys.ENTER)
    (answer,) = page.server.post("/models/text/versions/3/predict", json={"texts": ["1 2 9"]}).json()["answers"]
    assert page.said() == answer["class"] == "c"
    assert f"{100 * answer['confidence']:.1f} %" in page.answers()[0]
    assert "text, version 3" in page.answers()[0]


def test_several_targets_of_a_text_are_answered_each_under_its_name(page: Page) -> None:
    page.choose("both")
    page.find("text").send_keys("1 2 9", Keys.TAB, Keys.ENTER)
    assert page.said() == "c"
    lines = page.answers()[0].splitlines()
    for target in ("mood", "age"):
        assert lines[lines.index(target) + 1] == "c"


def test_a_version_can_be_chosen_and_names_of_classes_are_no_html(page: Page) -> None:
    page.choose("text")
    Select(page.find("version")).select_by_value("9")
    assert "10 % of the clients" in page.text("about")
    page.find("text").send_keys("1 2 9", Keys.TAB, Keys.ENTER)
    assert page.said() == "<b>x</b>"


def test_files_are_answered_each_and_a_broken_one_is_named_in_the_servers_words(page: Page, tmp_path: Path) -> None:
    page.choose("image")
    for name, content in (("one.png", picture(1, 2, 9)), ("two.png", picture(9, 2, 1))):
        (tmp_path / name).write_bytes(content)
    page.find("photos").send_keys(f"{tmp_path / 'one.png'}\n{tmp_path / 'two.png'}")
    until(lambda: len(page.answers()) == 2)
    newest, oldest = page.answers()
    assert newest.startswith("a\n")
    assert oldest.startswith("c\n")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    page.find("photos").send_keys(str(tmp_path / "bad.png"))
    assert until(lambda: page.text("error")) == "the body: not a toy picture"
    assert len(page.answers()) == 2


def test_an_observation_is_json(page: Page) -> None:
    page.choose("observation")
    page.find("observation").send_keys("[1, 5, 2]", Keys.TAB, Keys.ENTER)
    assert page.said() == "b"
    page.find("observation").clear()
    page.find("observation").send_keys("[1, 5", Keys.TAB, Keys.ENTER)
    assert "JSON" in until(lambda: page.text("error"))


def test_a_text_that_is_written_piece_by_piece_ends_as_it_is_answered_at_once(page: Page) -> None:
    page.choose("story")
    page.find("text").send_keys("1 2 9", Keys.TAB, Keys.ENTER)
    until(lambda: page.text("status") == "The text is written.")
    assert page.said() == "to be, or not"
    assert "story, version 1" in page.answers()[0]
    page.find("text").clear()
    page.find("text").send_keys("0 0 0", Keys.TAB, Keys.ENTER)
    assert until(lambda: page.text("error")) == "nothing can be said of zeros"


def test_an_episode_of_a_policy_is_watched(page: Page) -> None:
    page.choose("observation")
    assert not page.shown("play")
    page.choose("game")
    page.find("play").click()
    until(lambda: page.text("status") == "An episode of 2 steps.")
    picture = page.browser.find_element(By.CSS_SELECTOR, "#answers img")
    assert picture.accessible_name == "The episode that the policy plays"
    assert page.browser.execute_script("return arguments[0].naturalWidth", picture) == 8
    assert page.said() == "Return 2.0"


def test_both_texts_of_a_pair_are_typed_under_the_names_of_their_columns(page: Page) -> None:
    page.choose("pair")
    assert page.find("first").accessible_name == "premise"
    assert page.find("second").accessible_name == "hypothesis"
    page.find("first").send_keys("1 2", Keys.TAB, "9", Keys.TAB, Keys.ENTER)
    (answer,) = page.server.post("/models/pair/predict", json={"pairs": [["1 2", "9"]]}).json()["answers"]
    assert page.said() == answer["class"] == "c"


def test_the_camera_and_the_microphone_reach_the_server(page: Page) -> None:
    """The toy model reads neither JPEG nor WAV: the server's refusal shows that such a body came."""
    page.choose("image")
    page.find("camera").click()
    until(lambda: page.shown("shoot"))
    until(lambda: page.browser.execute_script("return document.getElementById('view').videoWidth"))
    page.find("shoot").click()
    assert until(lambda: page.text("error")) == "the body: not a toy picture"
    page.choose("audio")
    page.find("record").click()
    until(lambda: page.find("record").get_attribute("aria-pressed") == "true")
    page.browser.execute_async_script("setTimeout(arguments[0], 300)")
    page.find("record").click()
    assert until(lambda: page.text("error")) == "the body: not a toy picture"
    asked = [line for line in page.server.log if line.get("path", "").endswith("/predict")]
    assert {"/models/image/predict", "/models/audio/predict"} <= {line["path"] for line in asked}


def test_the_page_asks_for_the_token(browser: webdriver.Chrome, tmp_path: Path) -> None:
    token = "0123456789abcdefghij"
    (tmp_path / "token").write_text(token)
    write_model(tmp_path / "models" / "toy" / "1", takes="text")
    with serving(tmp_path, tmp_path / "models", "--token-file", tmp_path / "token") as running:
        page = Page(browser, running)
        page.find("token").send_keys("wrong", Keys.ENTER)
        assert "token" in until(lambda: page.text("status") or page.browser.find_element(By.ID, "ask-token").text)
        page.find("token").clear()
        page.find("token").send_keys(token, Keys.ENTER)
        until(lambda: page.shown("input"))
        page.find("text").send_keys("1 2 9", Keys.TAB, Keys.ENTER)
        assert page.said() == "c"


def test_the_page_asks_nothing_of_other_servers_and_the_browser_has_no_complaint(page: Page) -> None:
    page.browser.get_log("browser")
    page.browser.refresh()
    until(lambda: page.text("status") == "Nothing was asked yet.")
    assert [line for line in page.browser.get_log("browser") if line["level"] in ("WARNING", "SEVERE")] == []
    loaded = page.browser.execute_script("return performance.getEntriesByType('resource').map(each => each.name)")
    assert loaded
    assert all(name.startswith((page.server.url, "data:")) for name in loaded)
    for file in FOLDER.iterdir():
        assert "://" not in file.read_text(encoding="utf-8"), file.name


def test_everything_has_a_name_for_screen_readers(page: Page) -> None:
    for model in ("image", "audio", "text", "observation", "pair"):
        page.choose(model)
        for each in page.browser.find_elements(By.CSS_SELECTOR, "button, input, select, textarea, video"):
            if each.is_displayed():
                assert each.accessible_name, json.dumps(each.get_attribute("outerHTML"))
