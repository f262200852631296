//! The corpus of the smuggling papers, made anew for every test: a dot between every pair of things that
//! some server somewhere takes for a line end (CVE-2023-51764, -51765, -51766; VU#302671).

/// One form: what comes before the dot, the dot, and what comes behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) before: &'static str,
    pub(super) dot: &'static str,
    pub(super) after: &'static str,
}

impl Form {
    pub(super) fn text(&self) -> String {
        format!("{}{}{}", self.before, self.dot, self.after)
    }
}

/// All of them.
pub(super) fn forms() -> Vec<Form> {
    let mut forms = Vec::new();
    for before in ["\r\n", "\n", "\r", "\r\r\n", "\n\r", "\r\n\0"] {
        for dot in [".", "..", ". "] {
            for after in ["\r\n", "\n", "\r", "\r\r\n"] {
                forms.push(Form { before, dot, after });
            }
        }
    }
    forms
}
