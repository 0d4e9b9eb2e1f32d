//! Which route a request finds, also against comparing all of them one by one.

use model::{CodeHash, FunctionSpec, Revision, Runtime, Timestamp};
use proptest::prelude::*;

use super::*;

/// One function for each route, named by its place.
fn table(routes: &[&str]) -> RouteTable {
    let function = |(place, route): (usize, &&str)| {
        let mut spec = FunctionSpec::new(format!("f{place}").parse().unwrap(), Runtime::python("3.11"), "a.b");
        spec.routes = vec![route.parse().unwrap_or_else(|error| panic!("{error}"))];
        let code = CodeHash::from_digest(&[0; 32]);
        Function {
            spec,
            revision: Revision(1),
            code,
            code_size: 1,
            modified: Timestamp(0),
            version: Default::default(),
        }
    };
    let functions: Vec<_> = routes.iter().enumerate().map(function).collect();
    RouteTable::new(&functions, None)
}

/// What a request finds: the route as it was written, with the parameters; or the methods there are.
fn found(table: &RouteTable, request: &str) -> String {
    let (method, target) = request.split_once(' ').unwrap();
    let (host, path) = target.split_at(target.find('/').unwrap());
    let Ok(path) = Path::read(path) else { return "ambiguous".into() };
    match table.find(host, &path, &method.parse().unwrap()) {
        Found::Route(Match { entry, parameters }) => {
            let shown: String = parameters.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            format!("{}{shown}", entry.route.route)
        }
        Found::Method(methods) => format!("only {}", methods.join(",")),
        Found::Nothing => "nothing".into(),
    }
}

#[test]
fn what_fits_best_answers() {
    let routes = [
        "GET /",
        "GET /users/me",
        "GET /users/{id}",
        "/users/{rest+}",
        "POST /users/{id}/photos",
        "api.example.org/{proxy+}",
        "GET *.example.org/users/me",
        "GET *.deep.example.org/users/me",
    ];
    let table = table(&routes);
    for (request, expected) in [
        ("GET x/", "GET /"),
        ("HEAD x/", "GET /"),
        ("POST x/", "only GET"),
        ("GET x/users/me", "GET /users/me"),
        ("GET x/users/me/", "GET /users/me"),
        ("GET x/users/you", "GET /users/{id} id=you"),
        ("GET x/users/a%20b%C3%BC", "GET /users/{id} id=a bü"),
        ("PUT x/users/me", "ANY /users/{rest+} rest=me"),
        ("POST x/users/1/photos", "POST /users/{id}/photos id=1"),
        ("GET x/users/1/photos", "ANY /users/{rest+} rest=1/photos"),
        ("GET x/users", "nothing"),
        ("GET api.example.org/users/me", "ANY api.example.org/{proxy+} proxy=users/me"),
        ("GET API.Example.ORG./users/me", "ANY api.example.org/{proxy+} proxy=users/me"),
        ("GET a.example.org/users/me", "GET *.example.org/users/me"),
        ("GET a.deep.example.org/users/me", "GET *.deep.example.org/users/me"),
        ("GET example.org/users/me", "GET /users/me"),
        ("GET evilexample.org/users/me", "GET /users/me"),
        ("GET a.example.org/users/1", "GET /users/{id} id=1"),
        ("GET api.example.org/", "GET /"),
    ] {
        assert_eq!(found(&table, request), expected, "{request}");
    }
}

#[test]
fn a_path_that_can_be_read_in_two_ways_has_no_route() {
    let table = table(&["/{proxy+}", "/admin auth=api-key"]);
    for path in [
        "//admin",
        "//",
        "/x/../admin",
        "/./admin",
        "/%2e%2e/admin",
        "/x//admin",
        "/x\\admin",
        "/%5Cadmin",
        "/%",
        "/%zz",
        "/%ff",
        "/%00",
        "/a%0a",
    ] {
        assert_eq!(found(&table, &format!("GET x{path}")), "ambiguous", "{path}");
    }
}

#[test]
fn a_path_that_a_function_may_take_for_a_guarded_one_evades_it() {
    let evades = |path: &str, route: &str| Path::read(path).unwrap().evades(&route.parse().unwrap());
    for path in ["/x%2Fadmin", "/admin;a=b", "/admin%3b/x", "/%41dmin", "/ADMIN/"] {
        assert!(evades(path, "/admin"), "{path}");
    }
    for path in ["/admin", "/admins", "/x/admin", "/%61dmin"] {
        assert!(!evades(path, "/admin"), "{path}");
    }
    assert!(evades("/Admin/x/y", "/admin/{proxy+}") && !evades("/Admin", "/admin/{proxy+}"));
    assert!(evades("/a/ÜBER", "/{p}/über"));
}

#[test]
fn limits_of_routes_that_stay_go_on_counting() {
    let function = |rate: &str| {
        let mut spec = FunctionSpec::new("f".parse().unwrap(), Runtime::python("3.11"), "a.b");
        spec.routes = vec![format!("/a rate={rate}").parse().unwrap()];
        let code = CodeHash::from_digest(&[0; 32]);
        Function {
            spec,
            revision: Revision(1),
            code,
            code_size: 1,
            modified: Timestamp(0),
            version: Default::default(),
        }
    };
    let limiter = |table: &RouteTable| table.all[0].limiter.clone().unwrap();
    let first = RouteTable::new(&[function("1/h")], None);
    let same = RouteTable::new(&[function("1/h")], Some(&first));
    let other = RouteTable::new(&[function("2/h")], Some(&same));
    assert!(Arc::ptr_eq(&limiter(&first), &limiter(&same)));
    assert!(!Arc::ptr_eq(&limiter(&same), &limiter(&other)));
}

/// Whether a route fits, told without a tree.
fn fits(route: &HttpRoute, path: &[String]) -> bool {
    let segments = route.route.segments();
    let greedy = matches!(segments.last(), Some(Segment::Greedy(_)));
    let long_enough = if greedy { path.len() >= segments.len() } else { path.len() == segments.len() };
    let each = |(segment, text): (&Segment, &String)| match segment {
        Segment::Static(wanted) => wanted == text,
        _ => true,
    };
    long_enough && segments.iter().zip(path).all(each)
}

/// How well segments fit: the smaller, the better.
fn rank(route: &HttpRoute) -> Vec<u8> {
    let one = |segment: &Segment| match segment {
        Segment::Static(_) => 0,
        Segment::Param(_) => 1,
        Segment::Greedy(_) => 2,
    };
    route.route.segments().iter().map(one).collect()
}

proptest! {
    #[test]
    fn the_tree_finds_what_comparing_all_routes_finds(
        written in proptest::collection::btree_set("(/(a|b|\\{p\\})){0,3}(/\\{g\\+\\})?", 1..12),
        path in proptest::collection::vec("a|b|c", 0..5),
    ) {
        // Parameters of one name are not allowed twice; their names mean nothing here.
        let numbered = |text: &String| {
            let mut place = 0;
            let named: String = text.split("{p}").map(|piece| { place += 1; format!("{piece}{{p{place}}}") }).collect();
            let cut = named.len() - format!("{{p{place}}}").len();
            if named[..cut].is_empty() { "/".to_owned() } else { named[..cut].to_owned() }
        };
        let routes: Vec<String> = written.iter().map(numbered).collect();
        let table = table(&routes.iter().map(String::as_str).collect::<Vec<_>>());
        let best = table.all.iter().map(|entry| &entry.route).filter(|route| fits(route, &path)).min_by_key(|route| rank(route));
        let raw = format!("/{}", path.join("/"));
        let found = match table.find("x", &Path::read(&raw).unwrap(), &Method::GET) {
            Found::Route(found) => Some(found.entry.route.clone()),
            _ => None,
        };
        prop_assert_eq!(found.as_ref(), best, "{}", raw);
    }

    #[test]
    fn no_request_makes_it_panic(path in "[a-z/%.{}\\\\0-9]{0,30}", host in "[a-z.*]{0,12}") {
        let table = table(&["/{proxy+}", "*.a/{x}", "a.b/c", "GET /a/{b}/c"]);
        if let Ok(path) = Path::read(&path)
            && let Found::Route(found) = table.find(&host, &path, &Method::GET)
        {
            prop_assert_eq!(found.parameters.len(), rank(&found.entry.route).iter().filter(|one| **one > 0).count());
        }
    }
}
