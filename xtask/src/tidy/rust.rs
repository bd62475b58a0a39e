//! Rules about Rust files: lengths, the header, banned words, unsafe code.
//!
//! Files are parsed, so that a word in a string or comment is not a violation.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::Violation;

const FILE_LINES_LIMIT: usize = 500;
const FUNCTION_LINES_LIMIT: usize = 50;
const BANNED_MACROS: &[&str] = &["todo", "unimplemented", "dbg"];
const BANNED_ATTRIBUTES: &[&str] = &["ignore", "allow"];
/// The folders that may have one `sys` module with unsafe code: five crates, and the
/// programs that tests have beside them.
const UNSAFE_FOLDERS: &[&str] = &[
    "runc-rs/src/",
    "engine/src/",
    "engine/shim/src/",
    "netd/src/",
    "volumed/src/",
    "tests/support/syscall-probe/",
    "tests/support/runc-bats/",
];

/// Returns what breaks a rule in one Rust file.
pub(crate) fn check(file: &str, text: &str) -> Vec<Violation> {
    let mut checker = Checker {
        file,
        found: Vec::new(),
        test_lines: 0,
    };
    if !text.starts_with("//!") {
        checker.add(1, "header", "//!", "starts with no //! header".to_owned());
    }
    match syn::parse_file(text) {
        Ok(syntax) => checker.visit_file(&syntax),
        Err(error) => checker.add(error.span().start().line, "parse", "", error.to_string()),
    }
    if let Ok(tokens) = text.parse::<TokenStream>() {
        checker.scan(tokens);
    }
    let lines = text.lines().count() - checker.test_lines;
    if lines > FILE_LINES_LIMIT && !is_test_file(file) {
        let message = format!("{lines} lines without tests, {FILE_LINES_LIMIT} are the limit");
        checker.add(1, "file-length", file, message);
    }
    checker.found
}

fn is_test_file(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/")
}

struct Checker<'a> {
    file: &'a str,
    found: Vec<Violation>,
    /// Lines of inline test modules, which the file limit does not count.
    test_lines: usize,
}

impl Checker<'_> {
    fn add(&mut self, line: usize, rule: &'static str, item: &str, message: String) {
        let (file, item) = (self.file.to_owned(), item.to_owned());
        self.found.push(Violation {
            file,
            line,
            rule,
            item,
            message,
        });
    }

    fn check_function(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let first = signature.span().start().line;
        let lines = body.span().end().line + 1 - first;
        if lines > FUNCTION_LINES_LIMIT {
            let name = signature.ident.to_string();
            let message =
                format!("`{name}` has {lines} lines, {FUNCTION_LINES_LIMIT} are the limit");
            self.add(first, "function-length", &name, message);
        }
    }

    /// Looks for banned words, also inside macro calls, which are tokens only.
    fn scan(&mut self, tokens: TokenStream) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        for (index, tree) in trees.iter().enumerate() {
            match tree {
                TokenTree::Ident(word) => self.check_word(word, trees.get(index + 1)),
                TokenTree::Punct(hash) if hash.as_char() == '#' => {
                    self.check_attribute(&trees[index + 1..]);
                }
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    fn check_word(&mut self, word: &proc_macro2::Ident, next: Option<&TokenTree>) {
        let (line, name) = (word.span().start().line, word.to_string());
        let called = matches!(next, Some(TokenTree::Punct(bang)) if bang.as_char() == '!');
        if called && BANNED_MACROS.contains(&name.as_str()) {
            self.add(
                line,
                "banned-macro",
                &name,
                format!("`{name}!` may not be committed"),
            );
        }
        // `#[unsafe(...)]` is an attribute, everything else is a block, fn, impl or trait.
        let attribute =
            matches!(next, Some(TokenTree::Group(g)) if g.delimiter() == Delimiter::Parenthesis);
        if name == "unsafe" && !attribute && !may_be_unsafe(self.file) {
            self.add(
                line,
                "unsafe",
                "unsafe",
                "unsafe code outside a `sys` module".to_owned(),
            );
        }
    }

    fn check_attribute(&mut self, after_hash: &[TokenTree]) {
        let inner =
            matches!(after_hash.first(), Some(TokenTree::Punct(bang)) if bang.as_char() == '!');
        let Some(TokenTree::Group(group)) = after_hash.get(usize::from(inner)) else {
            return;
        };
        if group.delimiter() != Delimiter::Bracket {
            return;
        }
        if let Some(TokenTree::Ident(word)) = group.stream().into_iter().next() {
            let name = word.to_string();
            if BANNED_ATTRIBUTES.contains(&name.as_str()) {
                let message =
                    format!("`#[{name}]` is not used here: assert, skip by list, or `expect`");
                self.add(word.span().start().line, "banned-attribute", &name, message);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Checker<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.check_function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.check_function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.check_function(&item.sig, body);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.content.is_some() && item.attrs.iter().any(is_cfg_test) {
            self.test_lines += item.span().end().line + 1 - item.span().start().line;
        }
        visit::visit_item_mod(self, item);
    }
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute
            .parse_args::<syn::Ident>()
            .is_ok_and(|word| word == "test")
}

fn may_be_unsafe(file: &str) -> bool {
    UNSAFE_FOLDERS.iter().any(|folder| {
        let rest = file.strip_prefix(folder);
        rest.is_some_and(|rest| {
            rest == "sys.rs" || rest.starts_with("sys/") || rest.ends_with("/sys.rs")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(file: &str, text: &str) -> Vec<&'static str> {
        check(file, text)
            .into_iter()
            .map(|violation| violation.rule)
            .collect()
    }

    fn function_of(lines: usize) -> String {
        format!(
            "//! x\n\nfn long() {{\n{}}}\n",
            "    one();\n".repeat(lines - 2)
        )
    }

    #[test]
    fn a_clean_file_has_no_violation() {
        let text =
            "//! x\n\n/// todo!() #[allow(x)]\nfn f() -> &'static str { \"unsafe todo!()\" }\n";
        assert_eq!(rules("base/src/a.rs", text), [""; 0]);
    }

    #[test]
    fn the_header_is_demanded() {
        assert_eq!(rules("a.rs", "fn f() {}\n"), ["header"]);
    }

    #[test]
    fn a_function_may_have_fifty_lines_and_no_more() {
        assert_eq!(rules("a.rs", &function_of(50)), [""; 0]);
        assert_eq!(rules("a.rs", &function_of(51)), ["function-length"]);
    }

    #[test]
    fn methods_and_default_methods_are_functions_too() {
        let body = "x();\n".repeat(60);
        let text =
            format!("//! x\nimpl A {{ fn f() {{ {body} }} }}\ntrait T {{ fn g() {{ {body} }} }}");
        assert_eq!(rules("a.rs", &text), ["function-length"; 2]);
    }

    #[test]
    fn the_test_module_does_not_count_for_the_file() {
        let lines = "const X: u8 = 1;\n".repeat(498);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{lines}}}\n");
        assert_eq!(rules("a.rs", &format!("//! x\n{lines}{tests}")), [""; 0]);
        assert_eq!(
            rules("a.rs", &format!("//! x\n{lines}{lines}{tests}")),
            ["file-length"]
        );
    }

    #[test]
    fn banned_words_are_found_inside_macros_as_well() {
        let text = "//! x\nfn f() { assert!(dbg!(1) == 1); todo!() }\n#[ignore]\nfn g() {}\n";
        assert_eq!(
            rules("a.rs", text),
            ["banned-macro", "banned-macro", "banned-attribute"]
        );
        assert_eq!(
            rules("a.rs", "//! x\n#![allow(dead_code)]\n"),
            ["banned-attribute"]
        );
        assert_eq!(
            rules(
                "a.rs",
                "//! x\n#[expect(dead_code, reason = \"y\")]\nfn f() {}"
            ),
            [""; 0]
        );
    }

    #[test]
    fn unsafe_code_belongs_into_a_sys_module() {
        let text = "//! x\nfn f() { unsafe { g() } }\n";
        assert_eq!(rules("netd/src/link.rs", text), ["unsafe"]);
        assert_eq!(rules("netd/src/sys.rs", text), [""; 0]);
        assert_eq!(rules("engine/cli/src/sys.rs", text), ["unsafe"]);
        assert_eq!(
            rules("engine/src/lib.rs", "//! x\n#![forbid(unsafe_code)]\n"),
            [""; 0]
        );
    }
}
