use super::*;

#[test]
fn a_word_with_a_slash_is_answered_here_and_never_a_command_of_the_cli() {
    let cases = [
        ("/clear", Command::New),
        ("/new@Claude_Bot", Command::New),
        ("/review", Command::Unknown("review".into())),
        ("/security-review the last change", Command::Unknown("security-review".into())),
        ("/plugin:skill now", Command::Unknown("plugin:skill".into())),
        ("/cancel all", Command::Cancel { all: true }),
    ];
    for (text, command) in cases {
        assert_eq!(parse(text, "claude_bot"), Some(command), "{text}");
    }
    for text in ["/compact", "/context", "/resume", "/usage", "/permissions", "/exit", "/login", "/mcp list"] {
        let Some(Command::Misused(said)) = parse(text, "claude_bot") else { panic!("{text}") };
        println!("{text} -> {said}");
        assert!(said.contains("Claude Code's terminal"), "{text}: {said}");
    }
    for text in ["/etc/hosts is what?", "/ no", "/", "//", "/new@other_bot", "/a.b", "@file", "no /new"] {
        assert_eq!(parse(text, "claude_bot"), None, "{text}");
    }
}
