// go-api: a small JSON API on net/http. A web function is an ordinary server that listens on $PORT.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
)

// Largest body that is read.
const most = 64 * 1024

func main() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080" // outside Hearth
	}
	log.SetFlags(0) // each line of a log has its time already
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, routes()))
}

func routes() http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("GET /hello/{name}", hello)
	routes.HandleFunc("POST /total", total)
	return routes
}

func hello(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, map[string]string{"message": fmt.Sprintf("Hello, %s!", r.PathValue("name"))})
}

type item struct {
	Name  string `json:"name"`
	Cents int    `json:"cents"`
	Count int    `json:"count"`
}

func total(w http.ResponseWriter, r *http.Request) {
	var items []item
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, most))
	body.DisallowUnknownFields()
	if err := body.Decode(&items); err != nil {
		refuse(w, "expected a JSON list of {name, cents, count}: "+err.Error())
		return
	}
	cents := 0
	for _, one := range items {
		if one.Cents < 0 || one.Count < 1 {
			refuse(w, fmt.Sprintf("%q: expected cents of 0 or more and a count of 1 or more", one.Name))
			return
		}
		cents += one.Cents * one.Count
	}
	log.Printf("request %s: %d items", r.Header.Get("X-Amzn-Requestid"), len(items))
	answer(w, http.StatusOK, map[string]int{"cents": cents})
}

func refuse(w http.ResponseWriter, why string) {
	answer(w, http.StatusBadRequest, map[string]string{"error": why})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Print(err) // the caller left
	}
}
