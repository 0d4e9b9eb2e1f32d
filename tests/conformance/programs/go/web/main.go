// A web function of net/http, which tells what it was asked, and does what the last part of the path says.
package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

var (
	lock    sync.Mutex
	waiting []chan struct{}
)

func main() {
	http.HandleFunc("/", answer)
	if err := http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func tell(w http.ResponseWriter, what any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(what)
}

func number(r *http.Request, name string) float64 {
	value, _ := strconv.ParseFloat(r.URL.Query().Get(name), 64)
	return value
}

func answer(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimSuffix(r.URL.Path, "/"), "/")
	switch parts[len(parts)-1] {
	case "status":
		w.WriteHeader(int(number(r, "code")))
	case "cookies":
		w.Header()["Set-Cookie"] = []string{"a=1", "hearth_session=x"}
		w.Header().Set("X-Hearth-Fault", "mine")
		_, _ = io.WriteString(w, "x")
	case "events":
		w.Header().Set("Content-Type", "text/event-stream")
		for n := range int(number(r, "n")) {
			fmt.Fprintf(w, "data: %d\n\n", n)
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				fmt.Println("the listener left")
				return
			case <-time.After(time.Duration(number(r, "every") * float64(time.Second))):
			}
		}
	case "together":
		mine := make(chan struct{})
		lock.Lock()
		waiting = append(waiting, mine)
		if len(waiting) == int(number(r, "n")) {
			for _, one := range waiting {
				close(one)
			}
			waiting = nil
		}
		lock.Unlock()
		<-mine
		tell(w, map[string]any{"pid": os.Getpid()})
	case "sleep":
		time.Sleep(time.Duration(number(r, "s") * float64(time.Second)))
		tell(w, map[string]any{"slept": true})
	case "say":
		fmt.Println("said", r.URL.Query().Get("text"))
	case "download":
		left := int(number(r, "bytes"))
		w.Header().Set("Content-Length", strconv.Itoa(left))
		piece := make([]byte, 65536)
		for at := range piece {
			piece[at] = byte(at)
		}
		for left > 0 {
			wrote, err := w.Write(piece[:min(left, len(piece))])
			if err != nil {
				return
			}
			left -= wrote
		}
	case "upload":
		digest := sha256.New()
		size, _ := io.Copy(digest, r.Body)
		tell(w, map[string]any{"bytes": size, "sha256": fmt.Sprintf("%x", digest.Sum(nil))})
	case "trailers":
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "ok")
		w.Header().Set("X-Sum", "7")
	case "crash":
		fmt.Fprintln(os.Stderr, "about to crash")
		os.Exit(9)
	default:
		size, _ := io.Copy(io.Discard, r.Body)
		headers := [][2]string{{"host", r.Host}}
		for name, values := range r.Header {
			for _, value := range values {
				headers = append(headers, [2]string{name, value})
			}
		}
		tell(w, map[string]any{
			"method": r.Method, "target": r.RequestURI, "version": r.Proto, "headers": headers, "bytes": size,
			"pid": os.Getpid(), "env": map[string]string{
				"PORT":                     os.Getenv("PORT"),
				"AWS_LAMBDA_HTTP_ENDPOINT": os.Getenv("AWS_LAMBDA_HTTP_ENDPOINT"),
				"_HANDLER":                 os.Getenv("_HANDLER"),
			},
		})
	}
}
