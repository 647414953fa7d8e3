//! Rewrites tokens of a shadertoy into what naga's GLSL front end takes, where that does not change what they mean.
//!
//! - Words that are keywords in desktop GLSL but names in GLSL ES get another name.
//! - A `sampler2D`, be it a channel or a parameter, becomes a texture and a sampler.
//! - `texture(…)` becomes `textureLod(…, 0.0)`: a compute shader has no derivatives to choose a level by.
//! - Initialisers of globals that are no constants move into `kiln_init()`, in their order.
//! - Where there are prototypes, functions are put in the order of their calls.

use super::preprocess::Placed;
use crate::shader_job::Stage;
use crate::shader_job::lexer::TokenKind;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

/// A problem: its stage, a sentence, the token's offset.
pub type Problem = (Stage, String, Option<usize>);

/// The rewritten tokens, and those of the body of `kiln_init()`.
#[derive(Debug, Default)]
pub struct Rewritten {
    /// All declarations and functions.
    pub tokens: Vec<Placed>,
    /// Assignments of moved initialisers.
    pub init: Vec<Placed>,
}

/// What stands at the top level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Function,
    Prototype,
    Other,
}

struct Item {
    range: Range<usize>,
    kind: Kind,
}

/// Rewrites a whole pass.
pub fn rewrite(mut tokens: Vec<Placed>) -> Result<Rewritten, Vec<Problem>> {
    let items = items(&tokens);
    let functions: HashSet<Rc<str>> = items
        .iter()
        .filter(|item| item.kind != Kind::Other)
        .filter_map(|item| name_of(&tokens[item.range.clone()]))
        .collect();
    check(&tokens, &functions)?;
    for token in &mut tokens {
        match &*token.text {
            "sample" | "buffer" | "shared" | "restrict" | "readonly" | "writeonly" | "coherent" | "volatile"
            | "patch" | "subroutine" | "noperspective" | "double" => {
                *token = token.replaced(&format!("kiln_{}", token.text))
            }
            "gl_FragCoord" => *token = token.replaced("kiln_frag_coord"),
            _ => {}
        }
    }
    let mut out = Rewritten::default();
    let (mut others, mut bodies) = (Vec::new(), Vec::new());
    let prototypes = items.iter().any(|item| item.kind == Kind::Prototype);
    let mut moved = HashSet::new();
    for item in items {
        let list = &tokens[item.range];
        match item.kind {
            Kind::Prototype => {}
            Kind::Function if prototypes => bodies.push(sampled(list, &functions)),
            Kind::Function => others.extend(sampled(list, &functions)),
            Kind::Other => others.extend(declaration(list, &functions, &mut moved, &mut out.init)),
        }
    }
    out.tokens = others;
    out.tokens.extend(by_calls(bodies).into_iter().flatten());
    Ok(out)
}

/// Refuses what cannot be had in a compute shader.
fn check(tokens: &[Placed], functions: &HashSet<Rc<str>>) -> Result<(), Vec<Problem>> {
    let mut problems: Vec<Problem> = Vec::new();
    for token in tokens.iter().filter(|token| token.kind == TokenKind::Word && !functions.contains(&token.text)) {
        let what = match &*token.text {
            "dFdx" | "dFdy" | "fwidth" => {
                format!("`{}` needs derivatives, which are not available; compute the difference by hand.", token.text)
            }
            "discard" => "`discard` is not available; return a colour.".to_owned(),
            "samplerCube" | "sampler3D" => {
                format!("`{}` is not supported; channels are two-dimensional.", token.text)
            }
            "mainSound" | "mainVR" if !functions.contains("mainImage") => {
                format!("`{}` is not supported; only `mainImage` is run.", token.text)
            }
            _ => continue,
        };
        problems.push((Stage::Validate, what, token.offset));
    }
    if !functions.contains("mainImage") && problems.is_empty() {
        let what = "There is no `void mainImage(out vec4 color, in vec2 position)`.".to_owned();
        problems.push((Stage::Parse, what, None));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Splits the top level.
fn items(tokens: &[Placed]) -> Vec<Item> {
    let mut items = Vec::new();
    let (mut start, mut depth, mut body) = (0, 0_usize, false);
    for (index, token) in tokens.iter().enumerate() {
        match &*token.text {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "{" => {
                body |= depth == 0 && index > start && &*tokens[index - 1].text == ")";
                depth += 1;
            }
            "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && body {
                    items.push(Item { range: start..index + 1, kind: Kind::Function });
                    (start, body) = (index + 1, false);
                }
            }
            ";" if depth == 0 => {
                let list = &tokens[start..index];
                let call = list.last().is_some_and(|token| &*token.text == ")");
                let assigned = list.iter().any(|token| &*token.text == "=");
                let kind = if call && !assigned { Kind::Prototype } else { Kind::Other };
                items.push(Item { range: start..index + 1, kind });
                start = index + 1;
            }
            _ => {}
        }
    }
    if start < tokens.len() {
        items.push(Item { range: start..tokens.len(), kind: Kind::Other });
    }
    items
}

/// The name of a function: the word before its first `(`.
fn name_of(list: &[Placed]) -> Option<Rc<str>> {
    let open = list.iter().position(|token| &*token.text == "(")?;
    list.get(open.checked_sub(1)?).map(|token| token.text.clone())
}

/// An open bracket on the way through a function.
#[derive(Default)]
struct Open {
    /// It is that of a texture call.
    texture: bool,
    /// It is that of a call of the user's own function, which takes a texture and its sampler one by one.
    own: bool,
    /// Its commas so far.
    commas: usize,
    /// Where its third argument starts in the output.
    third: usize,
}

/// A function or expression with its texture calls and channels rewritten, innermost first.
///
/// Naga has textures and samplers, but no `sampler2D` that could be passed on: a parameter of that type becomes two.
fn sampled(list: &[Placed], functions: &HashSet<Rc<str>>) -> Vec<Placed> {
    let mut out: Vec<Placed> = Vec::with_capacity(list.len());
    let mut open: Vec<Open> = Vec::new();
    let mut parameters: HashSet<Rc<str>> = HashSet::new();
    let mut tokens = list.iter().peekable();
    while let Some(token) = tokens.next() {
        match &*token.text {
            "(" | "[" | "{" => {
                let name = out.last_mut().filter(|name| &*token.text == "(" && name.kind == TokenKind::Word);
                let mut bracket = Open::default();
                if let Some(name) = name {
                    bracket.own = functions.contains(&name.text);
                    bracket.texture = !bracket.own && matches!(&*name.text, "texture" | "texture2D");
                    if bracket.texture {
                        *name = name.replaced("textureLod");
                    }
                }
                open.push(bracket);
            }
            "," => {
                if let Some(open) = open.last_mut() {
                    open.commas += 1;
                    if open.commas == 2 {
                        open.third = out.len();
                    }
                }
            }
            ")" | "]" | "}" => {
                if let Some(closed) = open.pop()
                    && closed.texture
                {
                    // A bias changes the level, of which there is one choice here.
                    if closed.commas >= 2 {
                        out.truncate(closed.third);
                    }
                    out.push(token.replaced(","));
                    out.push(token.replaced("0.0"));
                }
            }
            "texture2DLod" | "texture2DLodEXT" => {
                out.push(token.replaced("textureLod"));
                continue;
            }
            "sampler2D" => {
                while out
                    .last()
                    .is_some_and(|last| matches!(&*last.text, "in" | "const" | "lowp" | "mediump" | "highp"))
                {
                    out.pop();
                }
                out.push(token.replaced("texture2D"));
                if let Some(name) = tokens.next_if(|next| next.kind == TokenKind::Word) {
                    parameters.insert(name.text.clone());
                    out.push(name.clone());
                    out.push(name.replaced(","));
                    out.push(name.replaced(&format!("sampler kiln_sampler_of_{}", name.text)));
                }
                continue;
            }
            word => {
                let pair = match word.strip_prefix("iChannel") {
                    Some(digit @ ("0" | "1" | "2" | "3")) => {
                        Some((format!("kiln_channel{digit}"), format!("kiln_sampler{digit}")))
                    }
                    _ if parameters.contains(word) => Some((word.to_owned(), format!("kiln_sampler_of_{word}"))),
                    _ => None,
                };
                if let Some((texture, sampler)) = pair {
                    let own = open.last().is_some_and(|open| open.own);
                    let text =
                        if own { format!("{texture}, {sampler}") } else { format!("sampler2D({texture}, {sampler})") };
                    out.push(token.replaced(&text));
                    continue;
                }
            }
        }
        out.push(token.clone());
    }
    out
}

/// A declaration at the top level; initialisers that naga could not take move to `init`.
fn declaration(
    list: &[Placed],
    functions: &HashSet<Rc<str>>,
    moved: &mut HashSet<Rc<str>>,
    init: &mut Vec<Placed>,
) -> Vec<Placed> {
    let list = sampled(list, functions);
    let plain = |word: &str| !matches!(word, "struct" | "precision" | "uniform" | "layout" | "in" | "out" | "varying");
    let depths = depths(&list);
    let assigned = list.iter().zip(&depths).any(|(token, depth)| *depth == 0 && &*token.text == "=");
    let unsized_array = list.windows(2).any(|pair| &*pair[0].text == "[" && &*pair[1].text == "]");
    if !assigned || unsized_array || !list.first().is_some_and(|first| plain(&first.text)) {
        return list;
    }
    let constant = list.iter().any(|token| &*token.text == "const");
    let integer = list.iter().take(4).any(|token| matches!(&*token.text, "int" | "uint"));
    let mentions_moved = list.iter().any(|token| moved.contains(&token.text));
    let calls = list
        .windows(2)
        .any(|pair| &*pair[1].text == "(" && pair[0].kind == TokenKind::Word && !is_constructor(&pair[0].text));
    if constant && !mentions_moved && (integer || !calls) {
        return list;
    }
    // `const` and every initialiser go; `TYPE a = x, b[2] = y;` becomes `TYPE a, b[2];` and `a = x; b = y;`.
    let mut out = Vec::new();
    let mut index = 0;
    while index < list.len() {
        let token = &list[index];
        index += 1;
        if &*token.text == "const" {
            continue;
        }
        if depths[index - 1] > 0 || &*token.text != "=" {
            out.push(token.clone());
            continue;
        }
        let end = (index..list.len())
            .find(|&at| depths[at] == 0 && matches!(&*list[at].text, "," | ";"))
            .unwrap_or(list.len());
        let name = out.iter().rev().scan(0_i32, |depth, token: &Placed| {
            *depth += i32::from(&*token.text == "]") - i32::from(&*token.text == "[");
            Some((*depth == 0 && token.kind == TokenKind::Word).then(|| token.clone()))
        });
        if let Some(name) = name.flatten().next() {
            moved.insert(name.text.clone());
            init.push(name);
            init.push(token.clone());
            init.extend_from_slice(&list[index..end]);
            init.push(token.replaced(";"));
        }
        index = end;
    }
    out
}

/// How many brackets are open around each token; brackets themselves count as inside.
fn depths(list: &[Placed]) -> Vec<usize> {
    let mut depth = 0_usize;
    list.iter()
        .map(|token| match &*token.text {
            "(" | "[" | "{" => {
                depth += 1;
                depth
            }
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                depth + 1
            }
            _ => depth,
        })
        .collect()
}

/// True for the built-in types that make values.
fn is_constructor(word: &str) -> bool {
    let digit = |rest: &str| matches!(rest, "2" | "3" | "4");
    let vector = ["vec", "ivec", "uvec", "bvec"].iter().any(|prefix| word.strip_prefix(prefix).is_some_and(digit));
    vector || word.starts_with("mat") || matches!(word, "float" | "int" | "uint" | "bool")
}

/// Functions, callees first; those that call each other in a circle stay in their order, and naga refuses them.
fn by_calls(bodies: Vec<Vec<Placed>>) -> Vec<Vec<Placed>> {
    let names: Vec<Option<Rc<str>>> = bodies.iter().map(|body| name_of(body)).collect();
    let mut by_name: HashMap<Rc<str>, Vec<usize>> = HashMap::new();
    for (index, name) in names.iter().enumerate() {
        if let Some(name) = name {
            by_name.entry(name.clone()).or_default().push(index);
        }
    }
    let callees: Vec<Vec<usize>> = bodies
        .iter()
        .map(|body| {
            let called = body.windows(2).filter(|pair| &*pair[1].text == "(").map(|pair| &pair[0].text);
            called.filter_map(|name| by_name.get(name)).flatten().copied().collect()
        })
        .collect();
    let mut order = Vec::with_capacity(bodies.len());
    let mut seen = vec![false; bodies.len()];
    for root in 0..bodies.len() {
        // Depth first without recursion: a function is put down when all that it calls is.
        let mut stack = vec![(root, 0)];
        while let Some((function, next)) = stack.pop() {
            if next == 0 && std::mem::replace(&mut seen[function], true) {
                continue;
            }
            match callees[function].get(next) {
                Some(&callee) => {
                    stack.push((function, next + 1));
                    if !seen[callee] {
                        stack.push((callee, 0));
                    }
                }
                None => order.push(function),
            }
        }
    }
    let mut bodies: Vec<Option<Vec<Placed>>> = bodies.into_iter().map(Some).collect();
    order.into_iter().filter_map(|index| bodies[index].take()).collect()
}
